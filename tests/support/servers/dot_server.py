#!/usr/bin/env python3
"""django-oauth-toolkit: a standard OAuth 2.0 token endpoint with a grace period, and a resource that rejects a
token with `error="invalid_token"`.

    python dot_server.py PORT [--access-lifetime S] [--grace S] [--reuse-protection] [--state DIR]
                              [--mode threads|gunicorn] [--workers N] [--until-stdin-closes]

Prints one line `ready http://127.0.0.1:PORT` when it accepts connections (PORT 0 = any free port; threads mode only),
and exits 0 on SIGTERM. State lives in a temporary sqlite file that is removed at exit, or below --state.

    POST /o/token/          password, refresh_token (rotated), client_credentials
    POST /o/revoke_token/   200, also for an unknown token. Revoking an access token also revokes its refresh token
                            (which then gets 400 invalid_grant), and vice versa
    POST /_expire           expires the access token in the body, but not its refresh token
    POST /o/introspect/     of access tokens (a refresh token is never active there)
    GET/POST /messages/ /dashboard/stats/ /tickets/    require a valid access token
    GET  /_counts           responses of the token route by grant, status and error
    POST /_hold             holds the next of its responses, after it is made
    POST /_release          sends it

clients: web / web-secret      (password, refresh_token; user alice / alice)
         service / service-secret  (client_credentials)
"""
import argparse

import common

parser = argparse.ArgumentParser()
common.add_arguments(parser)
parser.add_argument("--grace", type=int, default=0, help="REFRESH_TOKEN_GRACE_PERIOD_SECONDS")
parser.add_argument("--reuse-protection", action="store_true", help="a spent refresh token revokes its family")
args = parser.parse_args()

home = common.Home(args, "dot-")
token_route = common.TokenRoute(home, "/o/token/")
count_answers = token_route.middleware

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests-on-loopback-0123456789abcdef",
    ALLOWED_HOSTS=["127.0.0.1", "localhost", "[::1]"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        "oauth2_provider",
    ],
    MIDDLEWARE=[__name__ + ".count_answers", "django.middleware.common.CommonMiddleware"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": home.file("db.sqlite3"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # fast; tests only
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["oauth2_provider.contrib.rest_framework.OAuth2Authentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    OAUTH2_PROVIDER={
        "SCOPES": {"api": "the API", "introspection": "introspect"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": int(args.access_lifetime),
        "REFRESH_TOKEN_EXPIRE_SECONDS": 7 * common.DAY,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": args.grace,
        "REFRESH_TOKEN_REUSE_PROTECTION": args.reuse_protection,
    },
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "loggers": {
            "django.server": {"handlers": [], "propagate": False, "level": "CRITICAL"},
            "django.request": {"handlers": ["stderr"], "propagate": False, "level": "ERROR"},
            # it warns at each use of the password grant, which the tests use because it needs no browser
            "oauth2_provider": {"handlers": ["stderr"], "propagate": False, "level": "ERROR"},
        },
    },
)
django.setup()

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.http import HttpResponse
from django.urls import include, path
from django.utils import timezone
from oauth2_provider.models import get_access_token_model, get_application_model
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view(["GET", "POST"])
def protected(request):
    return Response({"user": getattr(request.user, "username", None), "path": request.path})


def expire(request):
    ended = get_access_token_model().objects.filter(token=request.body.decode()).update(expires=timezone.now())
    return HttpResponse(status=204 if ended else 404)


urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("messages/", protected),
    path("dashboard/stats/", protected),
    path("tickets/", protected),
    path("_expire", expire),
    path("_counts", token_route.counts),
    path("_hold", token_route.hold),
    path("_release", token_route.release),
]


def prepare():
    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    if not users.filter(username="alice").exists():
        users.create_user("alice", password="alice")
    application = get_application_model()
    for client, secret, grant in [
        ("web", "web-secret", application.GRANT_PASSWORD),
        ("service", "service-secret", application.GRANT_CLIENT_CREDENTIALS),
    ]:
        if application.objects.filter(client_id=client).exists():
            continue
        application.objects.create(
            name=client,
            client_id=client,
            client_secret=secret,
            client_type=application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=grant,
        )
    connections.close_all()  # forked workers must not share them


if __name__ == "__main__":
    common.run(args, home, prepare)
