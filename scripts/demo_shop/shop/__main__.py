"""Serves the shop over HTTP.  It knows nothing of hot reload."""

import http.server
import itertools
from urllib.parse import parse_qsl, urlsplit

from .cart import CARTS, cart_of, receipt
from .till import Till

till = Till()
requests = itertools.count(1)


def add(customer, item):
    known = customer in CARTS
    cart = cart_of(customer)
    if not known:
        till.watch(cart.total)
    cart.add(item)
    return "%s has %d" % (customer, len(cart.items))


def pay(customer, show=receipt):
    return show(cart_of(customer))


def turnover():
    return "the till expects %.2f from %d customers" % (till.turnover(), len(CARTS))


PAGES = {"/add": add, "/receipt": pay, "/turnover": turnover}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        text = PAGES[url.path](**dict(parse_qsl(url.query)))
        body = ("[request %d] %s\n" % (next(requests), text)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


till.start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
