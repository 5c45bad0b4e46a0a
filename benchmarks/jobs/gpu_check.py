"""All checks of `gpu_checks.py`; nothing is timed. A check that raises counts as failed, with its message."""

from __future__ import annotations

import traceback

from gpu_common import emit, parser, peak_mib


def main() -> None:
    """Runs each check and emits one RESULT with all of them."""
    args = parser(__doc__).parse_args()
    import torch
    from gpu_checks import every_check

    rows = []
    for name, check in every_check(args.model, args.device):
        try:
            rows += [one.row() for one in check()]
        except Exception as error:  # noqa: BLE001  (whatever it is, what depends on it is not timed)
            traceback.print_exc()
            said = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            rows.append({"name": name, "what": said, "value": None, "bound": None, "holds": False})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    emit(checks=rows, peak_mib=peak_mib())


if __name__ == "__main__":
    main()
