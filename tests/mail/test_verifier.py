"""The verifier that judges our signatures takes the example of RFC 8463 (appendix A.3), and nothing else."""

import pytest

from tests.fixtures.verifier import UnverifiedError, verify

RECORDS = {
    "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": "v=DKIM1; k=rsa; "
    "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzC"
    "Nb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}
ED25519 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
"""
RSA = b"""\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
"""
MESSAGE = b"""\
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""


def signed(signature: bytes, message: bytes = MESSAGE) -> bytes:
    return (signature + message).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("signature", [ED25519, RSA])
def test_the_example_of_the_rfc_holds(signature):
    assert verify(signed(signature), RECORDS)["d"] == "football.example.com"


@pytest.mark.parametrize("signature", [ED25519, RSA])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Joe.", b"Joe!"),
        (b"ready?", b"ready!"),
        (b"joe@", b"jim@"),
        (b"Date:", b"Subject: Win\nDate:"),
        (b"gry", b"g ry"),
    ],
)
def test_what_was_changed_does_not(signature, before, after):
    with pytest.raises(UnverifiedError):
        verify(signed(signature, MESSAGE.replace(before, after)), RECORDS)


def test_white_space_does_not_matter():
    message = MESSAGE.replace(b"Subject: Is", b"SUBJECT :  Is").replace(b"game.  Are", b"game.\t Are") + b" \n\n"
    assert verify(signed(RSA, message), RECORDS)["s"] == "test"
