"""{summary}: writes documents as JSON lines, one each."""

import json
import os

options = json.loads(os.environ["PSANN_OPTIONS"])
first = int(os.environ.get("PSANN_RESUME") or 0)  # the last `resume` that psann has read
for number in range(first, options["count"]):
    text = f"Hello, {options['name']}! This is greeting number {number}."
    print(json.dumps({"text": text, "id": str(number), "resume": str(number + 1)}))
