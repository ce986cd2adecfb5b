/**
 * Device table entries in the text of debug files, as a small memory. Linux, drivers/iommu/amd/debugfs.c: `devtbl` shows the entry of the one
 * device that was written to `devid`, so people collect several; it does not say where the table lies.
 */
import { DTE_BYTES } from '../format/amdvi/dte.ts'
import { REG } from '../format/amdvi/registers.ts'
import { addressOf, Pages, PLACED, type UnitTables } from './text-pages.ts'

/** `0000:00:02.0 <QWORD[3]> <QWORD[2]> <QWORD[1]> <QWORD[0]> iommu0`. */
const ENTRY =
  /^\s*[0-9a-f]{4}:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7]) ([0-9a-f]{16}) ([0-9a-f]{16}) ([0-9a-f]{16}) ([0-9a-f]{16}) (iommu\d+)\s*$/i
/** A table for all DeviceIDs. */
const TABLE_PAGES = 512

export function isDeviceTableText(text: string): boolean {
  return text.split('\n').some((line) => ENTRY.test(line))
}

/** The IOMMUs of such a text. */
export function deviceTableUnits(path: string, text: string): UnitTables[] {
  const units = new Map<string, { pages: Pages; devices: Map<number, { name: string }> }>()
  for (const line of text.split('\n')) {
    const entry = ENTRY.exec(line)
    if (entry === null) continue
    const [, bus, device, fn, ...rest] = entry
    const name = rest.pop()!
    let unit = units.get(name)
    if (unit === undefined) {
      unit = { pages: new Pages(path), devices: new Map() }
      units.set(name, unit)
      for (let page = 0; page < TABLE_PAGES; page++) unit.pages.add(PLACED + page * 4096)
    }
    const id = (Number.parseInt(bus!, 16) << 8) | ((Number.parseInt(device!, 16) & 31) << 3) | Number(fn)
    // The highest word is printed first.
    for (const [index, word] of rest.reverse().entries())
      unit.pages.write(PLACED + id * DTE_BYTES + index * 8, BigInt(`0x${word}`))
    unit.devices.set(id, { name: addressOf(id) })
  }
  const remarks = [
    'read from the text of debug files: what they do not list is not there',
    'the text does not say where the device table lies: it is shown at 0x8000000000000',
  ]
  return [...units].map(([name, { pages, devices }]) => ({
    name,
    kind: 'amdvi',
    pointer: { offset: REG.DEV_TAB_BASE, size: 8, value: BigInt(PLACED + TABLE_PAGES - 1) },
    devices,
    dump: pages.dump('device table entries in the text of debug files', remarks),
  }))
}
