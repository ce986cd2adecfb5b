/** Names of PCI devices, out of a pci.ids file (https://pci-ids.ucw.cz): `vendor`, and below it, with a tab, `device`. */

export interface PciNames {
  /** @param ids `8086:1e31` @returns the vendor's and the device's name, or the vendor's, or null. */
  name(ids: string): string | null
}

const LINE = /^(\t?)([0-9a-f]{4}) {2}(.+)$/

/** @param text the whole file; lines that are none of its own are passed over. */
export function readPciIds(text: string): PciNames {
  const names = new Map<string, string>()
  let vendor: string | null = null
  for (const line of text.split('\n')) {
    // Device classes come after the vendors, and have other keys.
    if (line.startsWith('C ')) break
    const match = LINE.exec(line)
    if (match === null) continue
    const [, tab, id, name] = match
    if (tab === '') {
      vendor = id!
      names.set(vendor, name!)
    } else if (vendor !== null) names.set(`${vendor}:${id}`, name!)
  }
  return {
    name(ids) {
      const [vendorId = ''] = ids.toLowerCase().split(':')
      const maker = names.get(vendorId)
      if (maker === undefined) return null
      const device = names.get(ids.toLowerCase())
      return device === undefined ? maker : `${maker} ${device}`
    },
  }
}
