"""Operations that TFLite Micro registers."""

PUBLISHED = """AddAdd AddAveragePool2D AddConcatenation AddConv2D AddCumSum AddDepthwiseConv2D AddFullyConnected
AddHardSwish AddL2Normalization AddLogistic AddMaxPool2D AddMaximum AddMean AddMinimum AddMul AddPad AddPadV2
AddQuantize AddReduceMax AddRelu AddRelu6 AddReshape AddResizeNearestNeighbor AddSoftmax AddSpaceToBatchNd AddSplit
AddSplitV AddStridedSlice AddSub AddTanh AddTranspose""".split()  # noqa: SIM905
"""Methods of `MicroMutableOpResolver`, in tensorflow/lite/micro/micro_mutable_op_resolver.h of tflite-micro."""
