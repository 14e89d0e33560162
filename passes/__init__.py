"""The passes: one file each. ALL names them; its order means nothing."""

from __future__ import annotations

from .calibrate import Calibrate
from .choose_precision import ChoosePrecision
from .contract import Pass
from .convert_to_float16 import ConvertToFloat16
from .correct_bias import CorrectBias
from .distill import Distill
from .equalize_ranges import EqualizeRanges
from .export import Export
from .factorize import Factorize
from .fold_batchnorm import FoldBatchnorm
from .insert_quantization import InsertQuantization
from .learn_rounding import LearnRounding
from .prune_blocks import PruneBlocks
from .prune_channels import PruneChannels
from .prune_elements import PruneElements
from .quantize_weights import QuantizeWeights
from .recover import Recover
from .scale_activations import ScaleActivations
from .share_weights import ShareWeights
from .sparsify_2_4 import SparsifyTwoFour
from .train_quantized import TrainQuantized

ALL: tuple[type[Pass], ...] = (
    Calibrate,
    ChoosePrecision,
    ConvertToFloat16,
    CorrectBias,
    Distill,
    EqualizeRanges,
    Export,
    Factorize,
    FoldBatchnorm,
    InsertQuantization,
    LearnRounding,
    PruneBlocks,
    PruneChannels,
    PruneElements,
    QuantizeWeights,
    Recover,
    ScaleActivations,
    ShareWeights,
    SparsifyTwoFour,
    TrainQuantized,
)
