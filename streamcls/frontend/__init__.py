"""From a mono signal to the feature windows a model sees. The daemon and the training use this code and no other."""

from __future__ import annotations

from streamcls.frontend.frames import Frames
from streamcls.frontend.mfcc import features_of
from streamcls.frontend.streaming import StreamingFrontEnd
from streamcls.frontend.windows import FrameWindow, Windower, windows_of

__all__ = ["FrameWindow", "Frames", "StreamingFrontEnd", "Windower", "features_of", "windows_of"]
