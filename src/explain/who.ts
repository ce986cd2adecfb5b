/** Who made a request: the device by its address, its name and driver where they are known, and what is odd about it. */
import type { Advice, Case } from './advice.ts'
import type { PciNames } from './pci-ids.ts'

/** Who it was, in a sentence; remarks and next steps go to `advice`. */
export function whoSays(of: Case, names: PciNames | null, advice: Advice): string {
  const { finding, context } = of
  const { device, fields, kind } = finding.report
  if (device === null && kind.startsWith('command-'))
    return 'the IOMMU itself: the message is about a command, and names no device'
  if (device === null)
    return `which device it was is not in the text${typeof fields.client === 'string' ? ` (client ${fields.client})` : ''}`
  if (device.startsWith('sid:')) return streamSays(device.slice(4), of)
  const known = context.devices.get(device)
  const name = known?.ids === undefined || known.ids === null ? null : (names?.name(known.ids) ?? null)
  const driver = finding.driver ?? known?.driver ?? null
  const about = [
    name ?? (known?.ids === undefined || known.ids === null ? null : `id ${known.ids}`),
    driver === null ? null : `driver ${driver}`,
  ]
  const listed = about.filter((part) => part !== null)
  if (known === undefined && finding.driver === null) adviseUnlisted(device, of, advice)
  const sid = typeof fields.sid === 'string' ? `, ${finding.arch === 'riscv-iommu' ? 'device id' : 'StreamID'} ${fields.sid}` : ''
  return `${device}${sid}${listed.length > 0 ? ` (${listed.join(', ')})` : platformSays(device, of)}`
}

/** A function that the log does not list: it may not exist. */
function adviseUnlisted(device: string, { finding, context }: Case, advice: Advice): void {
  const fn = Number(device.at(-1))
  const first = `${device.slice(0, -1)}0`
  if (context.enumerated && !context.devices.has(device)) {
    const alias = context.devices.has(first)
      ? `; ${first} does: a DMA alias (phantom function) of it, or a function that firmware hides`
      : ''
    advice.causes.unshift(`a requester that does not exist: the log's list of devices does not have ${device}${alias}`)
    advice.next.unshift('a DMA alias quirk in the kernel, if the device is known to send with a wrong function number')
  } else if (fn !== 0 && !(finding.arch === 'amd-vi' && finding.report.name === 'INVALID_DEVICE_REQUEST')) {
    advice.next.unshift(
      `whether lspci lists ${device.slice(5)}: if it lists ${first.slice(5)} only, this is a DMA alias (phantom function), or a function that firmware hides`,
    )
  }
  if (/^0000:00:(?:16\.[1-7]|12\.[1-7])$/.test(device) && finding.arch === 'intel-vtd')
    advice.remarks.push(
      'on Intel platforms such a function belongs to the Management Engine, which firmware mostly hides from the system',
    )
}

/** What an address on bus 0 is by convention. */
function platformSays(device: string, { finding }: Case): string {
  if (finding.arch === 'intel-vtd' && finding.printer === 'linux') {
    if (device === '0000:00:02.0') return ' (on Intel platforms: the integrated graphics)'
    if (device.startsWith('0000:00:16.')) return ' (on Intel platforms: the Management Engine)'
  }
  if (finding.arch === 'amd-vi' && device === '0000:00:00.1')
    return ' (no PCI function: mostly the IOAPIC, by the address that firmware gives it)'
  return ''
}

function streamSays(id: string, { finding }: Case): string {
  const { client } = finding.report.fields
  const word = finding.arch === 'riscv-iommu' ? 'device id' : 'StreamID'
  const behind = finding.instance === null ? '' : ` at ${finding.instance}`
  const name = typeof client === 'string' ? `, ${client}` : ''
  return `${word} ${id}${name}${behind}`
}
