"""The results that networks are held to by training, which nothing here can compute."""

from resnets.verification.claims import rows

V1, V2 = "arXiv:1512.03385", "arXiv:1603.05027"
CIFAR10 = "% error on CIFAR-10"
TEN_CROPS = "% top-1 / top-5 error on ImageNet, 10 crops"
ONE_CROP = "% top-1 / top-5 error on ImageNet, one crop"

TORCHVISION = {
    "resnet18": "30.24 / 10.92",
    "resnet34": "26.69 / 8.58",
    "resnet50": "23.87 / 7.14",
    "resnet101": "22.63 / 6.45",
    "resnet152": "21.69 / 5.95",
    "resnext50_32x4d": "22.38 / 6.30",
    "resnext101_32x8d": "20.69 / 5.47",
    "resnext101_64x4d": "16.75 / 3.55",
    "wide_resnet50_2": "21.53 / 5.91",
    "wide_resnet101_2": "21.15 / 5.72",
    "alexnet": "43.48 / 20.93",
    "vgg11": "30.98 / 11.37",
    "vgg13": "30.07 / 10.75",
    "vgg16": "28.41 / 9.62",
    "vgg19": "27.62 / 9.12",
    "vgg11_bn": "29.63 / 10.19",
    "vgg13_bn": "28.41 / 9.63",
    "vgg16_bn": "26.64 / 8.48",
    "vgg19_bn": "25.78 / 8.16",
    "googlenet": "30.22 / 10.47",
    "densenet121": "25.57 / 8.03",
    "densenet161": "22.86 / 6.44",
    "densenet169": "24.40 / 7.19",
    "densenet201": "23.10 / 6.63",
}
"""Of its first weights of these names: 100 - acc@1, 100 - acc@5."""

PUBLISHED = (
    rows(
        "published",
        {
            "resnet20": f"8.75 {CIFAR10}",
            "resnet32": f"7.51 {CIFAR10}",
            "resnet44": f"7.17 {CIFAR10}",
            "resnet56": f"6.97 {CIFAR10}",
            "resnet110": f"6.43 {CIFAR10}, best of five (6.61 +- 0.16)",
            "resnet1202": f"7.93 {CIFAR10}",
            "highway19": f"7.54 {CIFAR10}, best (7.72 +- 0.16)",
            "highway32": f"8.80 {CIFAR10}",
            "nin_cifar": f"8.81 {CIFAR10}, augmented",
        },
        f"{V1}, Table 6",
    ),
    rows(
        "published",
        {
            "plain18": "27.94 % top-1 error on ImageNet, 10 crops",
            "resnet18_option_a": "27.88 % top-1 error on ImageNet, 10 crops",
        },
        f"{V1}, Table 2",
    ),
    rows(
        "published",
        {
            "vgg16": f"28.07 / 9.33 {TEN_CROPS}",
            "plain34": f"28.54 / 10.02 {TEN_CROPS}",
            "resnet34_option_a": f"25.03 / 7.76 {TEN_CROPS}",
            "resnet34": f"24.52 / 7.46 {TEN_CROPS}",
            "resnet34_option_c": f"24.19 / 7.40 {TEN_CROPS}",
            "resnet50_v1": f"22.85 / 6.71 {TEN_CROPS}",
            "resnet101_v1": f"21.75 / 6.05 {TEN_CROPS}",
            "resnet152_v1": f"21.43 / 5.71 {TEN_CROPS}",
        },
        f"{V1}, Table 3",
    ),
    rows(
        "published",
        {name: f"{error} {ONE_CROP}" for name, error in TORCHVISION.items()},
        "torchvision's IMAGENET1K_V1 weights",
    ),
    rows(
        "published",
        {
            "preact_resnet110": f"6.37 {CIFAR10}",
            "preact_resnet164": f"5.46 {CIFAR10}, 24.33 on CIFAR-100",
            "preact_resnet1001": f"4.92 {CIFAR10} (4.62 with batches of 64), 22.71 on CIFAR-100",
        },
        f"{V2}, Tables 3 and 4",
    ),
    rows("published", {"resnext29_8x64d": f"3.65 {CIFAR10}"}, "arXiv:1611.05431, Table 7"),
    rows("published", {"wide_resnet28_10": f"4.00 {CIFAR10}"}, "arXiv:1605.07146, Table 5"),
    rows("published", {"densenet_bc_100_12": f"4.51 {CIFAR10}"}, "arXiv:1608.06993, Table 2"),
    rows(
        "published",
        {
            "alexnet2012": "15.3 % top-5 error, an ensemble",
            "googlenet_2014": "6.67 % top-5 error, an ensemble",
            "vgg19": "7.3 % top-5 error, an ensemble",
        },
        "ILSVRC 2012 and 2014, test set",
    ),
)
