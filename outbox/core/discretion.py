"""What may be said of a sensitive email where its content could be quoted: in errors of composing it, and in what a
server answers once it has seen it. Pure."""

from collections.abc import Mapping

from outbox.core.errors import OutboxError
from outbox.core.outcome import Kind, Outcome
from outbox.core.reply import Reply
from outbox.core.text import clean_text

WITHHELD = "(words withheld: the email is sensitive)"


def fault_of(error: OutboxError, *, sensitive: bool) -> str:
    """What is wrong with an email. A template's error may name the values that it met."""
    if sensitive:
        return (
            "it cannot be made into a message (what is wrong is withheld, since the email is sensitive: try the like)"
        )
    return str(error)


def bug(error: Exception, *, sensitive: bool) -> str:
    """What is said of an error of our own."""
    said = WITHHELD if sensitive else clean_text(str(error), 200)
    return f"internal error, please report it: {type(error).__name__}: {said}"


def discreet(outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """`outcomes` with the codes of all replies, and the words of those alone that accept: with others a filter may say
    what it has found."""
    return {recipient: _discreet(outcome) for recipient, outcome in outcomes.items()}


def _discreet(outcome: Outcome) -> Outcome:
    if outcome.kind is Kind.ACCEPTED or outcome.reply is None:
        return outcome
    return outcome._replace(reply=withheld(outcome.reply))


def withheld(reply: Reply) -> Reply:
    """Its codes alone."""
    return Reply(reply.code, f"{reply.enhanced} {WITHHELD}" if reply.enhanced else WITHHELD)
