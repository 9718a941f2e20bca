"""What came of the attaches of one line of the table."""

import collections


class Tally:
    def __init__(self):
        self.tried = 0
        self.done = 0
        self.refused = collections.Counter()  # the word for scripts -> times
        self.examples = {}                    # the word -> what pyhot said the first time
        self.harmed = []                      # a description each
        self.stop_us = []                     # as reported

    def __iadd__(self, other):
        self.tried += other.tried
        self.done += other.done
        self.refused.update(other.refused)
        self.examples = {**other.examples, **self.examples}
        self.harmed += other.harmed
        self.stop_us += other.stop_us
        return self

    def count(self, done):
        """Counts one finished pyhot; returns whether it says that it reloaded."""
        self.tried += 1
        if done.returncode in (0, 5):
            self.done += 1
            self.stop_us.append(done.report["time"]["stop_us"])
            return True
        if done.returncode in (3, 4, 7):  # 7: done, or sure to be, without a report
            error = done.report["error"]
            self.refused[error["code"]] += 1
            self.examples.setdefault(error["code"], error["message"])
            return False
        raise AssertionError("pyhot ended with %d\n%s%s"
                             % (done.returncode, done.stdout, done.stderr))
