"""Model families: what differs between SD 1.x, SD 2.x, SDXL and later ones, one file a family."""
