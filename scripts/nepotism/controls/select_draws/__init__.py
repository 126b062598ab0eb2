"""Select: somebody draws several images for each slot, and keeps one."""

from nepotism.controls.faces import Control

CITATIONS = {
    "k_choice": "Ferbach et al., arXiv 2407.09499",
    "top_quantile": "Yi et al., arXiv 2510.16657",
    "farthest_point": "Shi et al., arXiv 2509.16499",
    "threshold_decay": "Shi et al., arXiv 2509.16499",
    "random": "ours",
}

CONTROL = Control(
    "select_draws",
    "Draw several images for each slot and keep one of them, by a score or for their variety.",
    "k_choice: Ferbach et al., arXiv 2407.09499; top_quantile: Yi et al., arXiv 2510.16657; farthest_point, threshold_decay: "
    "Shi et al., arXiv 2509.16499",
    ("diffusion",),
    {
        "draws": {
            "description": "Images per slot that one is kept of. The first is the one that is there without selection.",
            "type": "integer", "minimum": 2, "maximum": 64, "default": 4,
            "$comment": "of one image per slot there is nothing to select; leave the control out",
        },
        "rule": {
            "description": "Which are kept. k_choice: of each slot's draws one, with probability proportional to exp(`reward_scale` x "
            "score); top_quantile: of all draws of a group those of the highest scores, as many as it has slots; farthest_point: again "
            "and again, the group's draw farthest from those kept so far, in the image features of `score.clip`; threshold_decay: the "
            "draws of a group that are farther from those kept so far than a threshold, which falls by 5 % when none is; random: of each "
            "slot's draws one, which is what the other rules are compared with.",
            "enum": ["k_choice", "top_quantile", "farthest_point", "threshold_decay", "random"],
            "default": "k_choice",
        },
        "score": {
            "description": "What images are judged by; by rules that do not look at it, it is measured all the same. clip_score: how well "
            "the caption fits, by `score.clip`; detector: how sure the detector of the control filter, trained once, is that it is real; "
            "contrast, saturation: of the picture.",
            "enum": ["clip_score", "detector", "contrast", "saturation"],
            "default": "clip_score",
        },
        "reward_scale": {
            "description": "Of k_choice: factor of the score, counted in hundredths (a clip_score is; the others in "
            "percent). At 1, of two draws the one that is a hundredth better is kept 2.7 times as often; 0 is random.",
            "type": "number", "minimum": 0, "maximum": 1000, "default": 1.0,
        },
    },
    idle=lambda parameters: () if parameters["rule"] == "k_choice" else ("reward_scale",),
    cited=lambda parameters: CITATIONS[parameters["rule"]],
)  # fmt: skip
