"""Age, gender and race of faces by DeepFace (Serengil & Ozpinar), on its ONNX engine.

Its own ``analyze`` runs image by image. Detection does so here too; the three attribute models, which take most of the
time, get batches.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nepotism.data.user_images import ImageError, read_rgb
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import mismatches
from nepotism.sources.ffhq.labels import Label

ATTRIBUTES = ("Age", "Gender", "Race")
WEIGHTS = ("age_model_weights.onnx", "gender_model_weights.onnx", "race_model_single_batch.onnx")

# Of its detector `opencv`.
CASCADES = ("haarcascade_frontalface_default.xml", "haarcascade_eye.xml")


def _modeling(weights: Path) -> Any:
    """DeepFace's module of models. It reads its settings when it is imported."""
    os.environ["DEEPFACE_HOME"] = str(weights)
    # With torch installed it would silently take another engine.
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"
    (weights / ".deepface" / "weights").mkdir(parents=True, exist_ok=True)
    from deepface.modules import modeling

    return modeling


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Inside, ONNX sessions get ``count`` threads: DeepFace leaves it to ONNX, which takes every core of the machine."""
    import cv2
    import onnxruntime

    original = onnxruntime.SessionOptions

    def options() -> Any:
        made = original()
        made.intra_op_num_threads = count
        return made

    cv2.setNumThreads(count)
    onnxruntime.SessionOptions = options
    try:
        yield
    finally:
        onnxruntime.SessionOptions = original


def download(weights: Path) -> None:
    """Let DeepFace fetch the attribute models and its default detector into ``weights``."""
    modeling = _modeling(weights)
    for name in ATTRIBUTES:
        modeling.build_model("facial_attribute", name)
    modeling.build_model("face_detector", "opencv")


class Classifier:
    """DeepFace's detector and attribute models.

    Args:
        weights: DeepFace's home: its files are in ``.deepface/weights`` there.
        threads: of each model.
        detector: ``opencv``, or ``skip``, which takes the whole image as the face.

    Raises:
        UserError: if a model's file is missing, or not what was staged; nothing is downloaded here.
    """

    def __init__(self, weights: Path, detector: str, threads: int = 1) -> None:
        folder = weights / ".deepface" / "weights"
        if missing := [name for name in WEIGHTS if not (folder / name).is_file()]:
            raise UserError(
                f"`reference.ffhq.weights`: {folder} has no {', '.join(missing)}; use `weights: deepface` to download them, or "
                "copy them there"
            )
        if wrong := mismatches(weights):
            raise UserError(
                f"{weights}: {', '.join(wrong)} differ from SHA256SUMS; delete the folder, to stage it anew"
            )
        self._modeling = _modeling(weights)
        from deepface.modules import detection, preprocessing

        self._detection, self._preprocessing, self._detector = detection, preprocessing, detector
        with _threads(threads):
            self._models = {name: self._modeling.build_model("facial_attribute", name) for name in ATTRIBUTES}
        if detector != "skip":
            self._check_detector(folder)

    def _check_detector(self, folder: Path) -> None:
        """Load the detector now: inside `extract_faces` a missing file would count as an image without a face."""
        if missing := [name for name in CASCADES if not (folder / name).is_file()]:
            raise UserError(
                f"`reference.ffhq.weights`: {folder} has no {', '.join(missing)} for the detector; use `weights: deepface` to "
                "download them, or copy them there"
            )
        self._modeling.build_model("face_detector", self._detector)

    def classify(self, folder: Path, files: Sequence[str], batch_size: int) -> Iterator[Label]:
        """Labels of images, in their order; an image without a face, or that cannot be read, gets its error.

        Args:
            folder: of the data set.
            files: paths inside it.
            batch_size: faces that the attribute models see at a time.
        """
        for start in range(0, len(files), batch_size):
            found = [self._face(folder, file) for file in files[start : start + batch_size]]
            faces = [face for face, _ in found if face is not None]
            values = iter(self._attributes(np.concatenate(faces)) if faces else [])
            for face, label in found:
                yield label if face is None else next(values)(label)

    def _face(self, folder: Path, file: str) -> tuple[NDArray[np.float32] | None, Label]:
        """The largest face of an image as DeepFace's models want it, (1, 224, 224, 3) BGR in [0, 1]."""
        try:
            pixels = np.array(read_rgb(folder / file, file))
        except ImageError as error:
            return None, Label(file, error=str(error))
        try:
            faces = self._detection.extract_faces(
                np.ascontiguousarray(pixels[:, :, ::-1]), detector_backend=self._detector, enforce_detection=True
            )
        except Exception as error:
            # Missing faces make detectors raise whatever they please: a row tells which.
            return None, Label(file, error=f"{type(error).__name__}: {error}")
        face = max(faces, key=lambda each: each["facial_area"]["w"] * each["facial_area"]["h"])
        resized = self._preprocessing.resize_image(face["face"][:, :, ::-1], target_size=(224, 224))
        return resized, Label(file, face_confidence=float(face["confidence"] or 0))

    def _attributes(self, faces: NDArray[np.float32]) -> list[Callable[[Label], Label]]:
        from dataclasses import replace

        from deepface.models.demography.DemographyUtils import GENDER_LABELS, RACE_LABELS

        # For a single image the models leave the first axis out.
        ages = np.atleast_1d(self._models["Age"].predict(faces))
        genders = np.atleast_2d(self._models["Gender"].predict(faces))
        races = np.atleast_2d(self._models["Race"].predict(faces))

        def completed(row: int) -> Callable[[Label], Label]:
            gender, race = int(genders[row].argmax()), int(races[row].argmax())
            return lambda label: replace(
                label,
                age=float(ages[row]),
                gender=GENDER_LABELS[gender],
                race=RACE_LABELS[race],
                gender_score=float(genders[row, gender] / genders[row].sum()),
                race_score=float(races[row, race] / races[row].sum()),
            )

        return [completed(row) for row in range(len(faces))]
