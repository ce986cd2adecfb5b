/** Rules about devices: whether anything is checked of what they ask for. */
import type { DeviceNode } from '../graph.ts'
import { listText, type Rule } from './contract.ts'

const named = (devices: readonly DeviceNode[]) => listText(devices.map(({ name }) => name))

export const off: Rule<'high'> = {
  name: 'off',
  severities: ['high'],
  about: 'The IOMMU does not translate: no device is held back from anything.',
  advice: 'Switch it on: the firmware setting, then the kernel command line.',
  *look({ graph }) {
    if (!graph.enabled)
      yield { severity: 'high', place: graph.iommu, text: 'translation is off: every device reaches all of physical memory' }
  },
}

export const untranslated: Rule<'high'> = {
  name: 'untranslated',
  severities: ['high'],
  about:
    'A device whose requests without PASID are passed on as they are (bypass, pass-through, identity): it reads and writes all memory.',
  advice:
    'Give it a DMA domain. Linux: no iommu=pt or iommu.passthrough=1; a group of it can be changed in /sys/kernel/iommu_groups/*/type.',
  *look({ graph, ways }) {
    if (!graph.enabled) return
    const devices = [...new Set(ways.filter(({ pasid, space }) => pasid === null && space === null).map(({ device }) => device))]
    if (devices.length > 0)
      yield { severity: 'high', place: named(devices), text: 'not translated: reads and writes all of physical memory' }
  },
}

export const unknownOpen: Rule<'medium'> = {
  name: 'open-entries',
  severities: ['medium'],
  about:
    'Device table entries of devices that nobody named, which are not translated: a device that is plugged in later, or one that claims such an id, starts without any check.',
  advice: 'Let entries without a device abort.',
  *look({ graph }) {
    for (const text of graph.rest) {
      if (/bypass|pass-?through/i.test(text))
        yield { severity: 'medium', place: graph.words.deviceTable, text: `${text}; no device is known for them` }
    }
  },
}

export const noEntry: Rule<'note'> = {
  name: 'no-entry',
  severities: ['note'],
  about: 'A known device without a valid entry: each of its accesses is refused.',
  advice:
    'Fine for a device that does no DMA. Otherwise it is not in the firmware tables (IORT, DMAR, IVRS, device tree) or has no domain yet.',
  *look({ graph }) {
    const devices = graph.devices.filter(({ state }) => state === 'none')
    if (graph.enabled && devices.length > 0)
      yield { severity: 'note', place: named(devices), text: `no valid ${graph.words.deviceEntry}: its DMA is refused` }
  },
}

export const ats: Rule<'low'> = {
  name: 'ats',
  severities: ['low'],
  about:
    'Requests that a device marks as translated (ATS) are believed: it can name any physical address, whatever the tables say.',
  advice:
    'Right for a device that is soldered in and trusted. Not for one behind a slot or a cable: pci=noats, or mark the port as external-facing.',
  *look({ graph }) {
    const fields = new Map<string, DeviceNode[]>()
    for (const device of graph.devices) if (device.ats) fields.set(device.ats, [...(fields.get(device.ats) ?? []), device])
    for (const [field, devices] of fields)
      yield { severity: 'low', place: named(devices), text: `ATS is on (${field}): its translated requests are not checked` }
  },
}

export const findings: Rule<'medium' | 'low' | 'note'> = {
  name: 'tables',
  severities: ['medium', 'low', 'note'],
  about:
    'What reading the tables and the queues brought up: entries that the hardware refuses or that cannot be read: reserved bits, impossible fields, tables that lie outside memory.',
  advice: 'Decode the entry with iomm decode; it says which rule of the manual is broken.',
  *look({ graph }) {
    const severity = { error: 'medium', warning: 'low', note: 'note' } as const
    for (const finding of graph.findings) yield { severity: severity[finding.severity], place: finding.place, text: finding.text }
  },
}

export const DEVICE_RULES: readonly Rule[] = [off, untranslated, unknownOpen, noEntry, ats, findings]
