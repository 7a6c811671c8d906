"""The soak: real daemons, real databases and a faulty SMTP server, killed and restarted for as long as asked.

`make soak` runs it; docs/reliability.md says what it proves. Not part of the wheel.
"""
