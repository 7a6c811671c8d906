"""The database floor: models, engine, schema, and every statement after the INSERT."""
