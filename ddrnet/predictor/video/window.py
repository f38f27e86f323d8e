"""Shows frames in a window while they are computed."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddrnet.errors import DDRNetError

_SCREEN_SHARE = 0.9
"""The window needs at most this share of the height and the width of the screen."""


class VideoWindow:
    """A window that shows one frame after the other; use as a context manager.

    Frames larger than the screen are reduced. Closing the window, Escape or Q ends it. Use it in
    one thread; macOS wants the main thread.

    Args:
        title: The title of the window.

    Raises:
        DDRNetError: If there is no display, or Python lacks tkinter.

    Example:
        >>> with VideoWindow("camera") as window:  # doctest: +SKIP
        ...     for frame in read_video(0):
        ...         if not window.show(frame.pixels):
        ...             break
    """

    def __init__(self, title: str = "ddrnet") -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise DDRNetError(
                f"a window needs tkinter, which this Python lacks ({error}); on Debian and Ubuntu: "
                "apt-get install python3-tk"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise DDRNetError(f"there is no display for a window: {error}") from error
        self._photo_image: Any = ImageTk.PhotoImage
        self._photo: Any = None
        self._is_open = True
        self._root.title(title)
        self._root.resizable(False, False)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("<Escape>", "q", "Q"):
            self._root.bind(key, lambda event: self.close())

    def __enter__(self) -> VideoWindow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, pixels: NDArray[np.uint8]) -> bool:
        """Show a frame; return whether the window is still open.

        Args:
            pixels: (H, W, 3) uint8 RGB.
        """
        if self._is_open:
            self._root.update()  # handles the keys and clicks since the last frame
        if not self._is_open:
            return False
        from PIL import Image

        picture = Image.fromarray(pixels)
        width, height = self._root.winfo_screenwidth(), self._root.winfo_screenheight()
        picture.thumbnail((int(_SCREEN_SHARE * width), int(_SCREEN_SHARE * height)))
        if self._photo is None or (self._photo.width(), self._photo.height()) != picture.size:
            self._photo = self._photo_image(picture, master=self._root)
            self._label.configure(image=self._photo)
        else:
            self._photo.paste(picture)
        self._root.update()
        return self._is_open

    def close(self) -> None:
        """Close the window; closing it again does nothing."""
        if self._is_open:
            self._is_open, self._photo = False, None
            self._root.destroy()
