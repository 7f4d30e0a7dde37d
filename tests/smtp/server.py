"""A mail server for the tests: keeps what it is sent, and refuses as it is told.

In its folder it finds settings.json (tls: "starttls", "tls" or "none"; user and password, where it wants a login;
refuse: addresses that it does not know) and, for TLS, server.crt and server.key. Each letter becomes a line of
letters.jsonl. Run by tests/harness/src/mail.rs.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

port = int(sys.argv[1])
with open("settings.json", encoding="utf-8") as file:
    settings = json.load(file)


class Handler:
    """Takes letters."""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in settings.get("refuse", []):
            return "550 5.1.1 no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        letter = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "subject": message["Subject"],
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
            "tls": session.ssl is not None or settings["tls"] == "tls",
            "login": session.authenticated,
        }
        with open("letters.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(letter) + "\n")
        return "250 2.0.0 kept"


def may_enter(server, session, envelope, mechanism, data):
    """Whether a login is right."""
    wanted = (settings.get("user"), settings.get("password"))
    right = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == wanted
    return AuthResult(success=right)


async def serve():
    """Serves until it is killed."""
    context = None
    if settings["tls"] != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain("server.crt", "server.key")
    login = "user" in settings
    options = {
        "hostname": "localhost",
        "authenticator": may_enter,
        "auth_required": login,
        "auth_require_tls": settings["tls"] == "starttls",
        "loop": asyncio.get_running_loop(),
    }
    if settings["tls"] == "starttls":
        options.update(tls_context=context, require_starttls=True)
    secure = context if settings["tls"] == "tls" else None
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **options), "127.0.0.1", port, ssl=secure
    )
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(serve())
