"""What is sent: one email of about 2 kB as ready bytes, as columns of a row, and as templates with their context."""

import json
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

_LINES = (
    "thank you for it. We have received it and will send it within two working days.",
    "You will get another email with the number of the parcel as soon as it has left our house.",
    "If anything is not as you expected, send it back within thirty days, at our expense.",
    "Questions? Answer this email, or call us on any working day between nine and five.",
)
_ITEMS = [{"name": f"Notebook, dotted, A{size}", "quantity": size, "price": f"{size * 4}.90"} for size in (4, 5, 6)]

NUMBER = "4711"
"""What tells one email from the next: the number of the order, in every part."""

TEXT = f"Hello Ada,\n\nthis is about your order {NUMBER}.\n\n" + "\n\n".join((*_LINES, *_LINES[:2])) + "\n\nYour shop\n"
HTML = (
    "<!DOCTYPE html>\n<html><head><title>Your order</title></head>\n<body style='margin:0; background:#f3f4f7'>\n"
    "<p>Hello <strong>Ada</strong>,</p>\n"
    + "\n".join(f"<p style='margin:0 0 16px; font-family:sans-serif; color:#1f2633'>{line}</p>" for line in _LINES)
    + f"\n<p><a href='https://shop.example.org/orders/{NUMBER}'>Look at your order</a></p>\n<p>Your shop</p>\n"
    "</body></html>\n"
)

TEMPLATE = "order"
CONTEXT = json.dumps({"name": "Ada", "order": NUMBER, "items": _ITEMS, "total": "73.50", "delivery": "Friday"})

_LAYOUT = (
    "<!DOCTYPE html>\n<html><head><title>{% block title %}{% endblock %}</title></head>\n"
    "<body style='margin:0; background:#f3f4f7; font-family:sans-serif; color:#1f2633'>\n"
    "{% block content %}{% endblock %}\n<p>Your shop, 1 Example Street, London</p>\n</body></html>\n"
)
_FILES = {
    "_layout.html": _LAYOUT,
    "order.subject.txt": "Your order {{ order }}",
    "order.txt": "Hello {{ name }},\n\n"
    + "\n\n".join(_LINES)
    + "\n\n{% for item in items %}{{ item.quantity }} x {{ item.name }}, {{ item.price }}\n{% endfor %}\n"
    "Total: {{ total }}, with you on {{ delivery }}\n\nYour shop\n",
    "order.html": "{% extends '_layout.html' %}\n{% block title %}Your order {{ order }}{% endblock %}\n"
    "{% block content %}<p>Hello <strong>{{ name }}</strong>,</p>\n"
    + "\n".join(f"<p style='margin:0 0 16px'>{line}</p>" for line in _LINES)
    + "\n<table>{% for item in items %}<tr><td>{{ item.quantity }}</td><td>{{ item.name }}</td>"
    "<td>{{ item.price }}</td></tr>\n{% endfor %}</table>\n"
    "<p>Total: {{ total }}, with you on {{ delivery }}</p>{% endblock %}\n",
}


def ready() -> bytes:
    """The email as it goes over the wire."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "Shop <shop@example.org>"
    message["To"] = "r1@example.org"
    message["Subject"] = f"Your order {NUMBER}"
    message["Date"] = "Wed, 25 Nov 2026 12:00:00 +0000"
    message["Message-ID"] = f"<{NUMBER}@shop.example.org>"
    message.set_content(TEXT)
    message.add_alternative(HTML, subtype="html")
    return message.as_bytes()


def write_templates(folder: Path) -> Path:
    """The template files, in a folder of their own."""
    folder.mkdir()
    for name, content in _FILES.items():
        (folder / name).write_text(content)
    return folder
