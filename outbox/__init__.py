"""Send the email your database has already committed."""
