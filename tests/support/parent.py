"""A process that runs the embedded servers of a folder until something ends it. For tests of its end.

python parent.py HOME: prints the URLs as one line of JSON when they are ready, then waits.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from smsblossom import embedded


async def main(home: Path) -> None:
    async with embedded.run(home, say=lambda sentence: print(sentence, file=sys.stderr)) as servers:
        print(json.dumps(asdict(servers)), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
