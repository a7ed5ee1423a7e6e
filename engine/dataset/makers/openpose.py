"""Poses of people, drawn as OpenPose draws them: people are found by RT-DETR, their joints by ViTPose.

ViTPose (arXiv:2204.12484) answers COCO's 17 joints. OpenPose's neck is the middle of the shoulders, as in its own
conversion of COCO. Hands and faces are not drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import AutoModelForObjectDetection, VitPoseForPoseEstimation

from engine.dataset.annotators import Maker
from engine.dataset.images import Pixels
from engine.dataset.makers.nets import MEAN, STD, as_tensor, preparation, pretrained, resized
from engine.errors import UserError

Joints = npt.NDArray[np.float32]
"""[joints, 3]: x and y in pixels, and the score in [0, 1]."""

DETECTOR_SIDE = 640
PERSON = "person"
# The thresholds of transformers' own example of both models.
PERSON_SCORE, JOINT_SCORE = 0.3, 0.3
# A joint's surroundings belong to the input: a box grows by this factor (mmpose, and transformers' processor).
PADDING = 1.25
COCO_JOINTS, LEFT_SHOULDER, RIGHT_SHOULDER = 17, 5, 6
# OpenPose's order without the neck: nose, right arm, left arm, right leg, left leg, eyes, ears; as COCO's numbers.
FROM_COCO = (0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
NECK = 1
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
# Half the width of a limb and the radius of a joint, in pixels, at OpenPose's usual 512.
STICK, USUAL_SIDE = 4, 512


def load(folders: Sequence[Path]) -> Maker:
    """The maker of ViTPose in the first folder and a detector of people in the second."""
    poses, people = folders
    vitpose, said = pretrained(VitPoseForPoseEstimation, poses), preparation(poses)
    detector = pretrained(AutoModelForObjectDetection, people)
    if vitpose.config.num_labels != COCO_JOINTS:
        why = f"it answers {vitpose.config.num_labels} joints, and COCO's {COCO_JOINTS} are drawn"
        raise UserError(
            f"{poses} is no model of COCO's poses", why, "take usyd-community/vitpose-base-simple"
        )
    wanted = [index for index, label in detector.config.id2label.items() if label.lower() == PERSON]
    if not wanted:
        fix = "take PekingU/rtdetr_r18vd_coco_o365"
        raise UserError(f"{people} finds no people", f"it has no label {PERSON!r}", fix)

    @torch.no_grad()
    def make(picture: Pixels) -> Pixels:
        canvas = np.zeros_like(picture)
        for box in _people(detector, wanted, picture):
            draw(canvas, to_openpose(_joints(vitpose, said, picture, box)))
        return canvas

    return make


def _people(detector: Any, wanted: Sequence[int], picture: Pixels) -> npt.NDArray[np.float32]:
    """Boxes [n, 4] of people: the middle's x and y, width and height, in pixels."""
    high, wide = picture.shape[:2]
    seen = as_tensor(resized(picture, DETECTOR_SIDE, DETECTOR_SIDE, Image.Resampling.BILINEAR))
    answer = detector(pixel_values=seen)
    score = answer.logits[0].sigmoid()[:, list(wanted)].amax(dim=1)
    boxes = answer.pred_boxes[0][score > PERSON_SCORE].numpy()
    return np.asarray(boxes * np.array([wide, high, wide, high], np.float32), dtype=np.float32)


def _joints(vitpose: Any, said: Any, picture: Pixels, box: npt.NDArray[np.float32]) -> Joints:
    """COCO's joints of the person in the box."""
    high, wide = (int(side) for side in vitpose.config.backbone_config.image_size)
    x, y, width, height = (float(value) for value in box)
    # The box takes the input's shape, and none is left without an area.
    width, height = max(width, height * wide / high, 1.0), max(height, width * high / wide, 1.0)
    width, height = width * PADDING, height * PADDING
    step_x, step_y = (wide - 1) / width, (high - 1) / height
    cut = np.array(
        [[step_x, 0, (width / 2 - x) * step_x], [0, step_y, (height / 2 - y) * step_y]], np.float32
    )
    seen = np.asarray(cv2.warpAffine(picture, cut, (wide, high), flags=cv2.INTER_LINEAR), dtype=np.uint8)
    pixels = as_tensor(seen, said.get("image_mean", MEAN), said.get("image_std", STD))
    heat = vitpose(pixel_values=pixels).heatmaps[0].numpy()
    count, down, across = heat.shape
    flat = heat.reshape(count, -1)
    best = flat.argmax(axis=1)
    found_x = x + (best % across) * width / (across - 1) - width / 2
    found_y = y + (best // across) * height / (down - 1) - height / 2
    return np.stack([found_x, found_y, flat.max(axis=1)], axis=1).astype(np.float32)


def to_openpose(joints: Joints) -> Joints:
    """OpenPose's 18 joints from COCO's 17."""
    shoulders = joints[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    neck = np.array([*shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()], dtype=np.float32)
    return np.insert(joints[list(FROM_COCO)], NECK, neck, axis=0)


def draw(canvas: Pixels, joints: Joints) -> None:
    """Draw one person's 18 joints and what joins them, as OpenPose does; joints with a low score are left out."""
    stick = max(1, round(STICK * min(canvas.shape[:2]) / USUAL_SIDE))
    seen = joints[:, 2] > JOINT_SCORE
    for (first, second), colour in zip(LIMBS, COLOURS, strict=False):
        if seen[first] and seen[second]:
            x, y = (joints[first, :2] + joints[second, :2]) / 2
            across, down = joints[first, :2] - joints[second, :2]
            length, angle = np.hypot(across, down), np.degrees(np.arctan2(down, across))
            limb = cv2.ellipse2Poly((int(x), int(y)), (int(length / 2), stick), int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, limb, [int(value * 0.6) for value in colour])
    for (x, y, _), colour, there in zip(joints, COLOURS, seen, strict=True):
        if there:
            cv2.circle(canvas, (int(x), int(y)), stick, colour, thickness=-1)
