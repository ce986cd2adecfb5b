/** Commands of the command queue. RISC-V IOMMU 1.0, "Command-Queue (CQ)". */
import { addr, flag, type Layout, layout, oneOf, uint } from '../../base/layout.ts'

export const OPCODE_IOTINVAL = 1
export const OPCODE_IOFENCE = 2
export const OPCODE_IODIR = 3
export const OPCODE_ATS = 4

const OPCODES = { 1: 'IOTINVAL', 2: 'IOFENCE', 3: 'IODIR', 4: 'ATS' }
const opcode = oneOf(6, 0, OPCODES, 'command group')

/** IOTINVAL.VMA, IOTINVAL.GVMA: page-table caches. */
export const IOTINVAL = layout('IOTINVAL', 128, {
  opcode,
  func3: oneOf(9, 7, { 0: 'VMA', 1: 'GVMA' }, 'first stage or second stage'),
  AV: flag(10, 'ADDR is valid'),
  PSCID: uint(31, 12, 'address space'),
  PSCV: flag(32, 'PSCID is valid'),
  GV: flag(33, 'GSCID is valid; 0: the host'),
  NL: flag(34, 'non-leaf entries too (capabilities.NL)'),
  GSCID: uint(59, 44, 'virtual machine'),
  S: flag(73, 'ADDR is a NAPOT range (capabilities.S)'),
  ADDR: addr(125, 74, 'address', 12),
})

/** IOFENCE.C: waits for all commands before it. */
export const IOFENCE = layout('IOFENCE', 128, {
  opcode,
  func3: oneOf(9, 7, { 0: 'C' }, 'function'),
  AV: flag(10, 'DATA is written to ADDR'),
  WSI: flag(11, 'raises a wired interrupt'),
  PR: flag(12, 'orders previous reads of devices'),
  PW: flag(13, 'orders previous writes of devices'),
  DATA: uint(63, 32, 'what is written'),
  ADDR: addr(125, 64, 'where it is written', 2),
})

/** IODIR.INVAL_DDT, IODIR.INVAL_PDT: directory caches. */
export const IODIR = layout('IODIR', 128, {
  opcode,
  func3: oneOf(9, 7, { 0: 'INVAL_DDT', 1: 'INVAL_PDT' }, 'device or process directory'),
  PID: uint(31, 12, 'process_id (INVAL_PDT)'),
  DV: flag(33, 'DID is valid'),
  DID: uint(63, 40, 'device_id'),
})

/** ATS.INVAL, ATS.PRGR: messages to a PCIe function. */
export const ATS = layout('ATS', 128, {
  opcode,
  func3: oneOf(9, 7, { 0: 'INVAL', 1: 'PRGR' }, 'Invalidation Request or Page Request Group Response'),
  PID: uint(31, 12, 'PASID'),
  PV: flag(32, 'PID is valid'),
  DSV: flag(33, 'DSEG is valid'),
  RID: uint(55, 40, 'routing ID of the function'),
  DSEG: uint(63, 56, 'segment'),
  PAYLOAD: uint(127, 64, 'body of the message'),
})

/** PAYLOAD of ATS.INVAL. */
export const ATS_INVAL_PAYLOAD = layout('ATS.INVAL payload', 64, {
  G: flag(0, 'for all PASIDs'),
  S: flag(11, 'the address is a NAPOT range'),
  UntranslatedAddress: addr(63, 12, 'address', 12),
})

/** PAYLOAD of ATS.PRGR. */
export const ATS_PRGR_PAYLOAD = layout('ATS.PRGR payload', 64, {
  PRGI: uint(40, 32, 'page request group index'),
  ResponseCode: oneOf(47, 44, { 0: 'Success', 1: 'Invalid Request', 15: 'Response Failure' }, 'answer'),
  DestinationID: uint(63, 48, 'routing ID, in messages that the IOMMU makes'),
})

/** By opcode. */
export const COMMANDS: Readonly<Record<number, Layout>> = {
  [OPCODE_IOTINVAL]: IOTINVAL,
  [OPCODE_IOFENCE]: IOFENCE,
  [OPCODE_IODIR]: IODIR,
  [OPCODE_ATS]: ATS,
}
