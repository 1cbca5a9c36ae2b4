"""The node process of underlay networks (`weft spiderpool-agent`): it installs the plugins and answers them."""
