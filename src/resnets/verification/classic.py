"""What the papers say about the road to ResNet and its neighbours."""

from resnets.verification.claims import rows

V1, VGG = "arXiv:1512.03385", "arXiv:1409.1556"
HIGHWAY = "arXiv:1505.00387 and arXiv:1507.06228"
NIN, GOOGLENET, DENSENET = "arXiv:1312.4400", "arXiv:1409.4842", "arXiv:1608.06993"
LENET, ALEXNET = "LeCun et al. 1998", "Krizhevsky et al. 2012"
TORCHVISION, TUTORIAL = "torchvision's network of that name", "the tutorial's code"

VGGS = {f"vgg{depth}": depth for depth in (11, 13, 16, 19)}
VGGS_BN = {f"{name}_bn": depth for name, depth in VGGS.items()}
TUTORIAL_VGGS = {f"tutorial_{name}": depth for name, depth in VGGS.items()}
ALL_VGGS = VGGS | VGGS_BN | TUTORIAL_VGGS
DENSENETS = {f"densenet{depth}": depth for depth in (121, 161, 169, 201)}

LAYERS = (
    rows("layers", {"lenet5": 4}, f"{LENET}, Section II.B: C1, C3, C5, F6; the codes are fixed"),
    rows("layers", {"tutorial_lenet5": 5}, TUTORIAL),
    rows("layers", {"alexnet2012": 8}, f"{ALEXNET}, Section 3.5: five and three"),
    rows("layers", {"alexnet": 8}, "arXiv:1404.5997: five and three"),
    rows("layers", {"tutorial_alexnet": 8}, f"{TUTORIAL}: five and three"),
    rows("layers", VGGS | VGGS_BN, f"{VGG}, Table 1"),
    rows("layers", TUTORIAL_VGGS, TUTORIAL),
    rows("layers", {"nin_cifar": 9}, f"{NIN}, Section 4: three blocks of three"),
    rows("layers", {"nin_imagenet": 12}, "the Caffe model zoo's file: four blocks of three"),
    rows("layers", {"googlenet": 22, "googlenet_2014": 22}, f"{GOOGLENET}, Section 5"),
    rows("layers", {"highway19": 19, "highway32": 32}, f"{V1}, Table 6"),
    rows("layers", DENSENETS, f"{DENSENET}, Table 1"),
    rows("layers", {"densenet_bc_100_12": 100}, f"{DENSENET}, Table 2"),
)

PARAMETERS = (
    rows("parameters", {"lenet5": 60_000}, f"{LENET}, Section II.B: the sum over the layers"),
    *(
        rows("parameters", {"lenet5": size}, f"{LENET}, Section II.B", at=(part,))
        for part, size in {
            "c1": 156,
            "s2": 12,
            "c3": 1_516,
            "s4": 32,
            "c5": 48_120,
            "f6": 10_164,
        }.items()
    ),
    rows("parameters", {"alexnet2012": "60M"}, f"{ALEXNET}, Section 1", within=0.02),
    rows("parameters", {"alexnet2012": 60_965_224}, f"{ALEXNET}, Fig. 2: sum over the layers"),
    rows(
        "parameters",
        {
            "alexnet": 61_100_840,
            "vgg11": 132_863_336,
            "vgg13": 133_047_848,
            "vgg16": 138_357_544,
            "vgg19": 143_667_240,
            "vgg11_bn": 132_868_840,
            "vgg13_bn": 133_053_736,
            "vgg16_bn": 138_365_992,
            "vgg19_bn": 143_678_248,
            "googlenet": 13_004_888,
            "densenet121": 7_978_856,
            "densenet161": 28_681_000,
            "densenet169": 14_149_480,
            "densenet201": 20_013_928,
        },
        TORCHVISION,
    ),
    rows(
        "parameters",
        {"vgg11": "133M", "vgg13": "133M", "vgg16": "138M", "vgg19": "144M"},
        f"{VGG}, Table 2",
    ),
    rows("parameters", {"nin_cifar": 966_986}, f"{NIN}, the authors' file: sum over the layers"),
    rows(
        "parameters", {"nin_imagenet": 7_595_176}, "the Caffe model zoo's file: sum over the layers"
    ),
    rows(
        "parameters",
        {"googlenet_2014": 13_378_280},
        f"{GOOGLENET}, Table 1 and both heads of Section 5: sum over the layers",
    ),
    rows(
        "parameters that run",
        {"googlenet_2014": 6_998_552},
        f"{GOOGLENET}, Table 1: sum over the layers",
    ),
    rows("parameters that run", {"googlenet": 6_624_904}, f"{TORCHVISION}, without heads"),
    rows(
        "parameters",
        {"highway19": "2.3M", "highway32": "1.25M"},
        f"{V1}, Table 6; a reconstruction, its widths are not published",
        within=0.05,
    ),
    rows(
        "parameters", {"densenet_bc_100_12": 769_162}, f"{DENSENET}, Section 3: sum over the layers"
    ),
    rows("parameters", {"densenet_bc_100_12": "0.8M"}, f"{DENSENET}, Table 2"),
    rows(
        "parameters",
        {
            "tutorial_lenet5": 44_426,
            "tutorial_alexnet": 46_764_746,
            "tutorial_vgg11": 22_332_682,
            "tutorial_vgg13": 22_517_194,
            "tutorial_vgg16": 27_826_890,
            "tutorial_vgg19": 33_136_586,
        },
        f"{TUTORIAL}, built as printed",
    ),
)

MULTIPLY_ADDS = (
    rows(
        "multiply-adds",
        {"googlenet_2014": "1.5e9"},
        f"{GOOGLENET}, Section 1: a budget; Table 1 rounds its layers loosely",
        within=0.06,
    ),
    rows("multiply-adds", {"vgg19": "19.6e9"}, f"{V1}, Fig. 3"),
    rows("multiply-adds", {"vgg19": 19_632_062_464}, f"{VGG}, Table 1: sum over the layers"),
    rows(
        "multiply-adds",
        {
            "alexnet": "0.714e9",
            "vgg11": "7.609e9",
            "vgg13": "11.308e9",
            "vgg16": "15.470e9",
            "vgg11_bn": "7.609e9",
            "vgg13_bn": "11.308e9",
            "vgg16_bn": "15.470e9",
            "vgg19_bn": "19.632e9",
            "googlenet": "1.498e9",
            "densenet121": "2.834e9",
            "densenet161": "7.728e9",
            "densenet169": "3.360e9",
            "densenet201": "4.291e9",
        },
        f"{TORCHVISION}, as the record of its weights prints it",
    ),
    rows(
        "multiply-adds",
        {"lenet5": 415_680},
        f"{LENET}, Section II.B: sum over the layers, C3's missing connections counted as zeros",
    ),
    rows("multiply-adds", {"alexnet2012": 724_406_816}, f"{ALEXNET}, Fig. 2: sum over the layers"),
    rows(
        "multiply-adds",
        {"nin_cifar": 222_486_528},
        f"{NIN}, the authors' file: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {"nin_imagenet": 1_100_188_800},
        "the Caffe model zoo's file: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {"highway19": 348_882_176, "highway32": 332_956_288},
        "the reconstruction's widths: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {"densenet_bc_100_12": 287_929_692},
        f"{DENSENET}, Section 3: sum over the layers",
    ),
    rows(
        "multiply-adds",
        {
            "tutorial_lenet5": 281_640,
            "tutorial_alexnet": 777_874_272,
            "tutorial_vgg11": 7_440_765_952,
            "tutorial_vgg13": 11_140_142_080,
            "tutorial_vgg16": 15_301_940_224,
            "tutorial_vgg19": 19_463_738_368,
        },
        f"{TUTORIAL}: sum over the layers",
    ),
)

SIDES = (
    rows(
        "sides",
        {"lenet5": (28, 14, 10, 5, 1)},
        f"{LENET}, Fig. 2",
        at=("c1", "s2", "c3", "s4", "c5"),
    ),
    rows(
        "channels",
        {"lenet5": (6, 6, 16, 16, 120)},
        f"{LENET}, Fig. 2",
        at=("c1", "s2", "c3", "s4", "c5"),
    ),
    rows(
        "sides",
        {"highway19": (32, 16, 8), "highway32": (32, 16, 8)},
        f"{HIGHWAY}, reconstructed: a pool between stages",
    ),
    rows("sides", dict.fromkeys(ALL_VGGS, (224, 112, 56, 28, 14)), f"{VGG}, Table 1"),
    rows("channels", dict.fromkeys(ALL_VGGS, (64, 128, 256, 512, 512)), f"{VGG}, Table 1"),
    rows("sides", {"alexnet2012": (55, 27, 13)}, f"{ALEXNET}, Fig. 2"),
    rows("channels", {"alexnet2012": (96, 256, 256)}, f"{ALEXNET}, Fig. 2, both towers"),
    rows("sides", {"alexnet": (55, 27, 13)}, TORCHVISION),
    rows("channels", {"alexnet": (64, 192, 256)}, "arXiv:1404.5997, in torchvision's form"),
    rows("sides", {"tutorial_lenet5": (24, 8), "tutorial_alexnet": (55, 23, 11)}, TUTORIAL),
    rows("sides", {"nin_cifar": (32, 16, 8)}, f"{NIN}, the authors' file"),
    rows("sides", {"nin_imagenet": (54, 27, 13, 6)}, "the Caffe model zoo's file"),
    rows(
        "sides",
        dict.fromkeys(("googlenet", "googlenet_2014"), (112, 56, 28, 14, 7)),
        f"{GOOGLENET}, Table 1",
    ),
    rows("sides", dict.fromkeys(DENSENETS, (112, 56, 28, 14, 7)), f"{DENSENET}, Table 1"),
    rows("sides", {"densenet_bc_100_12": (32, 16, 8)}, f"{DENSENET}, Section 3"),
)

CLASSIC = (*LAYERS, *PARAMETERS, *MULTIPLY_ADDS, *SIDES)
