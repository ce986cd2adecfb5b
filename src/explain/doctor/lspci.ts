/** `lspci -vvv` as evidence: which devices have ATS, PASID and page requests, and whether these are on. pciutils, ls-ecaps.c, prints them. */
import type { Capability, DeviceEvidence } from './contract.ts'

const ADDRESS = /^((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (.+)$/i

/** Whether a line is the first one of a device. */
export function isDeviceLine(line: string): boolean {
  const match = ADDRESS.exec(line)
  return match !== null && /: |\[[0-9a-f]{4}\]/.test(match[2]!)
}

interface Open {
  name: string
  what: string
  driver: string | null
  readable: boolean
  hidden: boolean
  ats: Capability | null
  pasid: { enabled: boolean | null; bits: number | null } | null
  pri: { enabled: boolean | null; responsePasid: boolean | null } | null
}

/** So many devices are kept. */
const DEVICES = 65_536

/** Devices in the order of the text; other lines are passed over. */
export function parseLspci(lines: Iterable<string>): DeviceEvidence[] {
  const devices: Open[] = []
  for (const line of lines) {
    if (isDeviceLine(line)) {
      if (devices.length >= DEVICES) break
      const [, address = '', what = ''] = ADDRESS.exec(line)!
      const name = (address.length === 7 ? `0000:${address}` : address).toLowerCase()
      devices.push({ name, what, driver: null, readable: false, hidden: false, ats: null, pasid: null, pri: null })
      continue
    }
    const device = devices.at(-1)
    if (device !== undefined && /^\s/.test(line)) detail(device, line.trim())
  }
  return devices.map(({ hidden, ...device }) => ({ ...device, readable: device.readable && !hidden }))
}

const onOff = (text: string, name: string): boolean | null => {
  const sign = new RegExp(`\\b${name}([+-])`).exec(text)?.[1]
  return sign === undefined ? null : sign === '+'
}

function detail(device: Open, text: string): void {
  if (text.startsWith('Capabilities:')) {
    if (text.includes('<access denied>')) device.hidden = true
    else device.readable = true
    if (/Address Translation Service \(ATS\)/.test(text)) device.ats ??= { enabled: null }
    if (/Process Address Space ID \(PASID\)/.test(text)) device.pasid ??= { enabled: null, bits: null }
    if (/Page Request Interface \(PRI\)/.test(text)) device.pri ??= { enabled: null, responsePasid: null }
  } else if (text.startsWith('ATSCtl:') && device.ats !== null) device.ats = { enabled: onOff(text, 'Enable') }
  else if (text.startsWith('PASIDCap:') && device.pasid !== null) {
    const width = /Max PASID Width: ([0-9a-f]{1,2})\b/i.exec(text)?.[1]
    // pciutils prints the number in hexadecimal.
    device.pasid.bits = width === undefined ? null : Number.parseInt(width, 16)
  } else if (text.startsWith('PASIDCtl:') && device.pasid !== null) device.pasid.enabled = onOff(text, 'Enable')
  else if (text.startsWith('PRICtl:') && device.pri !== null) device.pri.enabled = onOff(text, 'Enable')
  else if (text.startsWith('PRISta:') && device.pri !== null) device.pri.responsePasid = onOff(text, 'PASID')
  else device.driver = /^Kernel driver in use: (\S+)/.exec(text)?.[1] ?? device.driver
}
