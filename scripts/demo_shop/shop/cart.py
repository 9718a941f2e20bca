"""Carts, and what they cost."""

import threading

PRICES = {"tea": 4.00, "cup": 9.50, "pot": 24.00}
CARTS = {}
LOCK = threading.Lock()


class Cart:
    def __init__(self, customer):
        self.customer = customer
        self.items = []

    def add(self, item):
        self.items.append(item)

    def total(self):
        return sum(PRICES[item] for item in self.items)


def cart_of(customer):
    with LOCK:
        if customer not in CARTS:
            CARTS[customer] = Cart(customer)
        return CARTS[customer]


def receipt(cart):
    return "%s: %s = %.2f" % (cart.customer, " + ".join(cart.items), cart.total())
