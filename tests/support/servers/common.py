"""Shared code of the two Django servers: options, state, counts, and how they are run."""
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

from django.http import HttpResponse, JsonResponse


# Outlasts any test, however slow the machine: tests expire a token with /_expire.
DAY = 86_400

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def add_arguments(parser):
    parser.add_argument("port", type=int)
    parser.add_argument("--mode", choices=["threads", "gunicorn"], default="threads")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--access-lifetime", type=float, default=DAY, help="in seconds")
    parser.add_argument("--state", help="keep the state in this directory over a stop and a start")
    parser.add_argument("--until-stdin-closes", action="store_true", help="exit at the end of the standard input")


class Home:
    """Where a server keeps its state."""

    def __init__(self, args, prefix):
        self.keeps = args.state is not None
        self.path = args.state or tempfile.mkdtemp(prefix=prefix)
        os.makedirs(self.path, exist_ok=True)

    def file(self, name):
        return os.path.join(self.path, name)

    def remove(self):
        if not self.keeps:
            shutil.rmtree(self.path, ignore_errors=True)


def append_line(path, line):
    """O_APPEND keeps lines of several processes whole."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (line + "\n").encode())
    finally:
        os.close(fd)


def read_lines(path):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


class TokenRoute:
    """Counts the responses of the token route, and holds one back after it is made.

    Its state is in files, as the server may have several processes.
    """

    def __init__(self, home, path, log_path=None):
        self.home = home
        self.path = path
        self.log_path = log_path or home.file("answers.jsonl")

    def middleware(self, get_response):
        def respond(request):
            if request.path != self.path:
                return get_response(request)
            grant = request.POST.get("grant_type") if request.content_type != "application/json" else None
            response = get_response(request)
            self.write({"pid": os.getpid(), "grant": grant, "status": response.status_code, "error": error_of(response)})
            self.wait_if_held()
            return response

        return respond

    def write(self, entry):
        append_line(self.log_path, json.dumps(entry))

    def entries(self):
        return [json.loads(line) for line in read_lines(self.log_path)]

    def hold(self, request):
        open(self.home.file("hold"), "w").close()
        return HttpResponse(status=204)

    def release(self, request):
        for name in ["hold", "held"]:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.home.file(name))
        return HttpResponse(status=204)

    def wait_if_held(self):
        try:
            # Only one response can rename it.
            os.rename(self.home.file("hold"), self.home.file("held"))
        except FileNotFoundError:
            return
        while os.path.exists(self.home.file("held")):
            time.sleep(0.005)

    def counts(self, request):
        counted = {}
        for entry in self.entries():
            key = " ".join(str(entry[name]) for name in ("grant", "status", "error") if entry[name])
            counted[key] = counted.get(key, 0) + 1
        return JsonResponse(counted)


def error_of(response):
    try:
        error = json.loads(response.content).get("error")
    except (ValueError, AttributeError):
        return None
    return error if isinstance(error, str) else None


def exit_at_end_of_stdin():
    """A child whose parent was killed must not live on."""

    def watch():
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def serve_threads(args, application):
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    # Headers and body are two writes: the second would wait for an acknowledgement.
    WSGIRequestHandler.disable_nagle_algorithm = True
    server = ThreadedWSGIServer(("127.0.0.1", args.port), WSGIRequestHandler)
    server.daemon_threads = True
    server.set_app(application)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    print(f"ready http://127.0.0.1:{server.server_port}", flush=True)
    signal.sigwait(STOP_SIGNALS)
    server.shutdown()
    server.server_close()


def serve_gunicorn(args, application):
    from gunicorn.app.base import BaseApplication

    class App(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", f"127.0.0.1:{args.port}")
            self.cfg.set("workers", args.workers)
            self.cfg.set("loglevel", "error")
            self.cfg.set("graceful_timeout", 2)
            self.cfg.set("when_ready", lambda _: print(f"ready http://127.0.0.1:{args.port}", flush=True))

        def load(self):
            return application

    App().run()


def run(args, home, prepare):
    """Prepares and serves until a signal comes."""
    from django.core.wsgi import get_wsgi_application

    parent = os.getpid()
    try:
        prepare()
        serve = serve_gunicorn if args.mode == "gunicorn" else serve_threads
        if serve is serve_threads:
            # Blocked in all threads, and waited for. A handler runs between any two steps of the main thread: it could
            # need a lock that the main thread holds.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        if args.until_stdin_closes:
            exit_at_end_of_stdin()
        serve(args, get_wsgi_application())
    finally:
        if os.getpid() == parent:
            home.remove()
