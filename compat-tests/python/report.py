"""The lines of the matrix: a check is a function, its feature is its name; raising is failing."""
import traceback

failures = 0


def check(feature, function, *args):
    global failures
    try:
        function(*args)
    except Exception as error:  # any error of a client library is a failed check
        failures += 1
        print(f"not ok {feature}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)
        traceback.print_exc()
    else:
        print(f"ok {feature}", flush=True)


def expect(had, due):
    if had != due:
        raise AssertionError(f"{had!r}, {due!r} due")
