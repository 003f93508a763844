"""The web page: motion from text, edits, long motions, the upper body; played in the page, downloaded in every format.

    python demo.py                  # then open http://127.0.0.1:7860

It uses the weights that ship with the code, needs no network, and listens to this machine alone unless --host says
otherwise. Several people may use it at once: what they ask for is made one after the other.
"""

import sys

from options.flags import parse
from options.option_demo import DemoOptions
from utils.errors import fail


def main() -> None:
    options = parse(DemoOptions, __doc__)
    if options.port > 65535:
        fail(f"--port must be from 0 to 65535, not {options.port}")
    # torch takes seconds to import: mistakes in the flags are told before
    from models.pipeline import MotionPipeline
    from models.upper_body import load_upper_body
    from web.server import PageServer
    from web.studio import Studio

    try:
        pipeline = MotionPipeline.load(options.resume_pth, options.resume_trans, options.device, options.resume_length)
    except ValueError as error:
        fail(str(error))
    try:
        upper, why_not = load_upper_body(options.upper_pth, options.upper_trans, options.device), ""
    except ValueError as error:
        if options.upper_pth or options.upper_trans:
            fail(str(error))
        # the first half of the message: the second is of another script's flags
        why_not = f"Upper-body editing needs weights that are not here: {str(error).partition(':')[0]}."
        upper = None
    if upper and upper.spec != pipeline.spec:
        fail(f"the upper-body weights are of {upper.spec.name}, the others of {pipeline.spec.name}: they must be alike")
    try:
        server = PageServer((options.host, options.port), Studio(pipeline, upper, why_not))
    except (OSError, OverflowError) as error:
        fail(f"cannot listen at {options.host}:{options.port} ({error}): choose another --port")
    host, port = server.server_address[:2]
    print(f"http://{host}:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
