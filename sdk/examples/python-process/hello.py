"""A source of documents for psann: writes greetings as JSON lines."""

import json
import os

options = json.loads(os.environ["PSANN_OPTIONS"])
first = int(os.environ["PSANN_RESUME"] or 1)
for number in range(first, options["count"] + 1):
    text = f"Hello, {options['name']}, for time number {number}."
    # Behind this document the next number is the place to go on from.
    print(json.dumps({"text": text, "id": str(number), "resume": str(number + 1)}))
