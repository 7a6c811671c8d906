# syntax=docker/dockerfile:1
# docker build --tag outbox .    The settings are variables: OUTBOX_DATABASE_URL, OUTBOX_SMTP_URL, OUTBOX_SENDER, …

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/outbox
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY migrations migrations
COPY outbox outbox
RUN /opt/outbox/bin/pip install --no-cache-dir --constraint constraints.txt '.[postgres,metrics,dkim]'

FROM python:3.13-slim
# /data: a SQLite file, templates, what `outbox catch` saves
RUN useradd --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin outbox
COPY --from=build /opt/outbox /opt/outbox
ENV PATH=/opt/outbox/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
# Exit 1 where mail is not moving: to be looked at, not to be restarted for.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["outbox", "status", "--check"]
# Both as lists, so that SIGTERM reaches outbox itself; it drains within OUTBOX_DRAIN_TIMEOUT (25s), so stop with -t 40.
ENTRYPOINT ["outbox"]
CMD ["run"]
