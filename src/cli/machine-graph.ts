/** A machine that runs here, as a graph: the same inspector that reads captures, with the names that a scenario gives. */
import type { MachineGraph, Names } from '../inspect/graph.ts'
import { INSPECTORS } from '../inspect/registry.ts'
import type { Machine } from '../machine/machine.ts'

/** What the machine's tables say now. */
export function graphOfMachine(machine: Machine, title: string): MachineGraph {
  const inspect = INSPECTORS.get(machine.architecture.kind)
  if (inspect === undefined)
    throw new RangeError(`nothing reads the tables of ${machine.architecture.title}: add it to inspect/registry.ts`)
  const { memory, model } = machine
  return inspect({ title, memory, register: (offset, bytes) => model.read(offset, bytes), names: namesOfMachine(machine) })
}

/** Names of devices, domains and address spaces. */
export function namesOfMachine(machine: Machine): Required<Pick<Names, 'devices' | 'pasids'>> {
  const devices = [...machine.devices.values()].map(({ name, detail, core }) => {
    const domain = core.domain
    return [
      core.id,
      { name, ...(detail === null ? {} : { detail }), ...(domain === null ? {} : { domain: domain.name }) },
    ] as const
  })
  const pasids = [...machine.iommu.ioMms.values()].map(({ pasid, mm, name }) => {
    return [
      pasid,
      mm === null ? { label: name, role: 'private' as const } : { label: `mm ${name}`, role: 'io_mm' as const },
    ] as const
  })
  return { devices: new Map(devices), pasids: new Map(pasids) }
}
