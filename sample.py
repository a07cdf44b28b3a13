"""Text to sound.

python sample.py "a dog barks in the park" --checkpoint cvssp/audioldm2 -o dog.wav
python sample.py --prompts prompts.txt --checkpoint FOLDER -o clips/        # goes on where it was interrupted
python sample.py "a calm woman" --transcript "Hello there." --checkpoint anhnct/audioldm2_gigaspeech -o hello.flac
"""

import argparse
import sys
import time
import warnings

from tqdm import tqdm

from ldm_jax.command import Job, add_arguments, plan_jobs, request_of


def main() -> int:
    """Makes the clips that the command line asks for; 0 when all are there, 2 for bad input."""
    parser = argparse.ArgumentParser(description="Text to sound with AudioLDM 2.")
    add_arguments(parser)
    arguments = parser.parse_args()
    warnings.formatwarning = lambda message, *_, **__: f"sample.py: {message}\n"
    try:
        return run(arguments)
    except (ValueError, OSError) as error:
        print(f"sample.py: {error}", file=sys.stderr)
        return 2


def run(arguments: argparse.Namespace) -> int:
    """Plans the clips, loads the checkpoint, draws batch after batch, writes each clip as it is done."""
    jobs, finished = plan_jobs(arguments)  # bad input is found before the weights are read
    if finished:
        print(f"{finished} clips are there already")
    if not jobs:
        return 0

    from ldm_jax import AudioLDM2  # imports jax: not before the input is known to be good

    model = AudioLDM2.from_pretrained(
        arguments.checkpoint, preset=arguments.preset, dtype=arguments.dtype
    )
    started, seconds = time.perf_counter(), 0.0
    with tqdm(total=len(jobs), unit="clip", disable=None) as bar:
        for batch in Job.batches(jobs, arguments.batch_size):
            size = min(arguments.batch_size, len(jobs))
            clips = model.generate(**request_of(batch, size=size), progress=sys.stderr.isatty())
            for row, job in enumerate(batch):
                job.write(clips, row, model)
                seconds += job.seconds
                bar.update()
    elapsed = time.perf_counter() - started
    print(
        f"{len(jobs)} clip{'s' * (len(jobs) != 1)}, {seconds:.1f} s of audio in {elapsed:.1f} s: "
        f"{seconds / elapsed:.2f} s of audio per second, compilation included"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
