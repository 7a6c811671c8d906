"""Speaks SMTP: opens, pools and closes connections, and says of each recipient what the server said."""
