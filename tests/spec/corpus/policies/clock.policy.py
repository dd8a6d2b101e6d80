import time


def decide(order):
    return {"branch": "late" if time.time() > order["due"] else "early"}
