"""The picture of the class report that README shows, of the demo's own class: python -m benchmarks.picture.

Run `autograder demo` first: it leaves the report in demo/. Needs chromium and chromedriver. Writes docs/images/report.png.
"""

from __future__ import annotations

import base64
import shutil
import sys
from pathlib import Path

from selenium import webdriver

ROOT = Path(__file__).resolve().parents[1]
REPORT = "demo/.autograder/attention_from_scratch/report.html"
PICTURE = ROOT / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1100, 1130  # CSS pixels; the picture has the same


def main() -> int:
    """Draws the top of the report as it opens."""
    report = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / REPORT
    if not report.exists():
        print(f"{report} is not there: run `make demo` first", file=sys.stderr)
        return 2
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(photograph(report.resolve().as_uri()))
    print(PICTURE)
    return 0


def photograph(address: str) -> bytes:
    """A page as Chromium shows it, light, as PNG."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    finally:
        browser.quit()


if __name__ == "__main__":
    sys.exit(main())
