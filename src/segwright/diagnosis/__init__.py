"""Yang, Hashimoto and Ushiku 2023, "A Critical Look": where frozen networks' features fail at segmentation, shown and measured."""
