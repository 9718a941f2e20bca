"""The till: a thread that adds up what all customers owe, whenever it is asked."""

import queue
import threading


class Till(threading.Thread):
    def __init__(self):
        super().__init__(name="till", daemon=True)
        self.totals = []
        self.questions = queue.Queue()

    def watch(self, total):
        """`total` is kept, and called each time: a bound method of a cart."""
        self.totals.append(total)

    def run(self):
        while True:
            answer = self.questions.get()
            answer.put(sum(total() for total in self.totals))

    def turnover(self):
        answer = queue.Queue()
        self.questions.put(answer)
        return answer.get()
