"""Files from a package index: where pip would ask, and a download that goes on where it broke off.

Light: no torch, so that the doctor can ask where torch is broken.
"""

from lora_lab.network.downloading import File, download
from lora_lab.network.indexes import Offer, addresses, offers
from lora_lab.network.pip_settings import PYPI, PipSettings, package_index

__all__ = ["PYPI", "File", "Offer", "PipSettings", "addresses", "download", "offers", "package_index"]
