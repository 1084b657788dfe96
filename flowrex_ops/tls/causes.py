"""Why clients refuse a certificate, or soon will."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation
from flowrex_ops.model import Severity

RUNBOOK = "certificate_expiry"
_RENEW = "docker-compose -f docker-compose.prod.yml run --rm certbot renew"
_TEST = "docker-compose -f docker-compose.prod.yml exec nginx nginx -t"
_RELOAD = "docker-compose -f docker-compose.prod.yml exec nginx nginx -s reload"

CAUSES = (
    Cause(
        "tls.unreachable",
        "An endpoint gives no certificate",
        "Nothing answers there, or what answers does not speak TLS: users cannot connect at all.",
        Severity.P1,
        10,
        (
            command("docker-compose -f docker-compose.prod.yml ps nginx", "see whether it runs"),
            command("docker-compose -f docker-compose.prod.yml logs --tail=100 nginx", "read why it does not"),
        ),
    ),
    Cause(
        "tls.not-reloaded",
        "A renewed certificate lies on disk, and the old one is served",
        "NGINX reads certificates when it starts or reloads; the renewal went well, the reload did not happen.",
        Severity.P2,
        20,
        (
            mitigation("reload-nginx", "tests, reloads, and reads what is served then"),
            command(_TEST, "by hand: a reload with a broken configuration changes nothing"),
            command(_RELOAD, "then this; no connection is lost"),
            command("certbot renew --deploy-hook 'nginx -s reload'", "so that the next renewal does it by itself"),
        ),
    ),
    Cause(
        "tls.expired",
        "A certificate has expired",
        "Browsers warn and programs refuse to connect, since the date in the certificate has passed.",
        Severity.P1,
        30,
        (
            mitigation("renew-certificate", "through certbot; then NGINX serves it"),
            command(_RENEW, "by hand; read what it says"),
            command(_RELOAD, "then serve it"),
        ),
    ),
    Cause(
        "tls.not-yet-valid",
        "A certificate is not valid yet",
        "It begins in the future: it was put in place too early, or a clock is wrong, its issuer's or this machine's.",
        Severity.P1,
        40,
        (
            command("timedatectl", "see whether this machine's clock is right"),
            command(_RENEW, "else get one that is valid now"),
        ),
    ),
    Cause(
        "tls.hostname-mismatch",
        "A certificate is not for the name that clients ask for",
        "Another server block answers, or the certificate was issued without this name.",
        Severity.P1,
        50,
        (
            command(
                "docker-compose -f docker-compose.prod.yml exec nginx nginx -T",
                "see which server block has the name, and which certificate it serves",
            ),
            command("certbot certonly --expand -d NAME …", "issue it again with every name that it needs"),
        ),
    ),
    Cause(
        "tls.incomplete-chain",
        "An intermediate certificate is not served",
        "Browsers that have seen it elsewhere connect; curl, mobile apps and trading clients refuse.",
        Severity.P1,
        60,
        (
            command("ssl_certificate …/fullchain.pem;", "serve fullchain.pem, not cert.pem"),
            command(_RELOAD, "then reload"),
        ),
    ),
    Cause(
        "tls.untrusted",
        "A certificate is signed by nobody that clients trust",
        "It is self-signed, or its authority is not among the anchors of this machine and of tls.ca_file.",
        Severity.P1,
        70,
        (
            command(_RENEW, "put a certificate of a public authority in place"),
            command("tls.ca_file", "where a private authority is meant, name its root in the settings"),
        ),
    ),
    Cause(
        "tls.expiring",
        "A certificate expires soon",
        "The renewal that should have happened by now has not.",
        Severity.P2,
        80,
        (
            mitigation("renew-certificate", "through certbot; then NGINX serves it"),
            command(_RENEW, "by hand; read what it says"),
            command("docker-compose -f docker-compose.prod.yml logs certbot", "find out why it was not renewed"),
            command(_RELOAD, "then serve it"),
        ),
    ),
)
