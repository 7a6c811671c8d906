"""What comes with outbox to try it: a local SMTP catcher, and a demonstration of everything."""
