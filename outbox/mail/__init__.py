"""From a claimed row to the bytes of its message: whom for, templates, MIME. It opens no connection and no database."""
