"""The commands of `sdtrain`, one file each: `arguments(parser)` declares the options, `run(args)` does it."""
