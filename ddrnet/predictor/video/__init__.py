"""Video files, streams and cameras: reads frames, writes them back, shows them (extra `video`)."""

from ddrnet.predictor.video.container import VIDEO_SUFFIXES, is_video
from ddrnet.predictor.video.frames import Frame, read_video
from ddrnet.predictor.video.window import VideoWindow
from ddrnet.predictor.video.writing import VideoWriter

__all__ = ["VIDEO_SUFFIXES", "Frame", "VideoWindow", "VideoWriter", "is_video", "read_video"]
