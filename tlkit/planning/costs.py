"""What a network costs to use: parameters, multiply-adds, time, size, and energy as an estimate."""

import dataclasses

from tlkit import nets

# Assumptions, not measurements; every figure made from them is called an estimate.
WATTS = 10.0  # a busy core of a server or laptop processor, with its share of memory and fans
PICOJOULES = 4.6  # one multiply-add in 32 bits, 45 nm (Horowitz 2014, figure 1.1.9: 3.7 + 0.9)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image and one copy of a network cost.

    Attributes:
        parameters: Of the backbone.
        multiply_adds: Of one image.
        rate: Images per second on this machine; NaN if not measured.
        megabytes: Of the exported weights, float32, without the head; about what the export takes.
        joules: Estimate for one image here: `WATTS` for each core while it runs.
        least_joules: Estimate of the arithmetic alone, `PICOJOULES` each: no memory is counted.
    """

    parameters: int
    multiply_adds: int
    rate: float
    megabytes: float
    joules: float
    least_joules: float

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.multiply_adds / 1e6:,.0f} M "
            f"multiply-adds, {self.rate:,.0f} images/s here, export about {self.megabytes:.0f} MB, "
            f"energy about {self.joules:.2g} J an image (estimate: {WATTS:.0f} W a core)"
        )


def cost(backbone, rate: float, cores: int) -> Cost:
    """Returns what a `Backbone` costs when it runs at `rate` images per second on `cores`."""
    parameters, adds = int(backbone.net.count_params()), int(nets.macs(backbone.net))
    return Cost(
        parameters, adds, rate, 4e-6 * parameters, WATTS * cores / rate, adds * PICOJOULES * 1e-12
    )
