#!lua flags=allow-oom
-- scan | keys: jobs live errors ready running scheduled retrying waiting succeeded dead cancelled | edges: none
--
-- Reads jobs of one state in order, from a place on, all or those that match. A member's place is its
-- score and its id, so nothing is read twice or left out because others come and go meanwhile.
-- ARGV: state, order (asc, desc), score and id of the last job read before ("" for none), how many
--   places to pass over, most to look at (at most 500), most to answer, bytes of an envelope to
--   answer, bytes of a failure to answer; then what must be found: text in the envelope, text in the
--   last failure ("" for anything), then task names, of which one must be its own (none for any)
-- Reply: looked at, score and id of the last one looked at ("" when nothing is behind it), then per
--   job: id, score, envelope (cut), its whole length, live, last failure (cut), how many failures

local state, down, score, last = ARGV[1], ARGV[2] == 'desc', ARGV[3], ARGV[4]
local skip, most, answers = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local head, tail = tonumber(ARGV[8]), tonumber(ARGV[9])
local text, failing = ARGV[10], ARGV[11]
local names = { unpack(ARGV, 12) }
local STEP, BYTES = 20, 1048576 -- jobs read at a time; bytes after which it ends early

local set = ({ ready = ready, running = running, scheduled = scheduled, retrying = retrying,
  waiting = waiting, succeeded = succeeded, dead = dead, cancelled = cancelled })[state]
local size = redis.call('ZCARD', set)

-- Byte by byte, as Redis sorts members; Lua's own comparison depends on the server's language.
local function is_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How many members stand before the place; with it, if `and_it`.
local function before(and_it)
  local low = redis.call('ZCOUNT', set, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', set, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = redis.call('ZRANGE', set, middle, middle)[1]
    if is_before(id, last) or (and_it and id == last) then low = middle + 1 else high = middle end
  end
  return low
end

-- The members at ranks from `at` on, in the order that is asked for.
local function members(at, count)
  if not down then return redis.call('ZRANGE', set, at, at + count - 1, 'WITHSCORES') end
  local from = at - count + 1
  local list = redis.call('ZRANGE', set, math.max(from, 0), at, 'WITHSCORES')
  local turned = {}
  for i = #list - 1, 1, -2 do
    turned[#turned + 1] = list[i]
    turned[#turned + 1] = list[i + 1]
  end
  return turned
end

local function last_line(lines)
  local from, count = 1, 1
  while true do
    local cut = string.find(lines, '\n', from, true)
    if not cut then break end
    from, count = cut + 1, count + 1
  end
  return string.sub(lines, from), count
end

local function is_named(envelope)
  if #names == 0 then return true end
  local from = string.sub(envelope, 1, 1) == '~' and 49 or 1 -- behind a signature
  for _, name in ipairs(names) do
    local start = '["' .. name .. '",'
    if string.sub(envelope, from, from + #start - 1) == start then return true end
  end
  return false
end

local reply = { 0, '', '' }
local looked, read, found, done = 0, 0, 0, false
local at
if down then
  at = (score ~= '' and before(false) or size) - 1 - skip
else
  at = (score ~= '' and before(true) or 0) + skip
end
while not done and looked < most and at >= 0 and at < size do
  local count = math.min(STEP, most - looked)
  if down then count = math.min(count, at + 1) end
  local list = members(at, count)
  if #list == 0 then break end
  local ids = {}
  for i = 1, #list, 2 do ids[#ids + 1] = list[i] end
  local calls = redis.call('HMGET', jobs, unpack(ids))
  local records = redis.call('HMGET', live, unpack(ids))
  local lines = redis.call('HMGET', errors, unpack(ids))
  for i, id in ipairs(ids) do
    local envelope, line, times = calls[i] or '', '', 0
    if lines[i] then line, times = last_line(lines[i]) end
    looked, read = looked + 1, read + #envelope + #(lines[i] or '')
    reply[2], reply[3] = list[i * 2], id
    if is_named(envelope) and (text == '' or string.find(envelope, text, 1, true))
      and (failing == '' or string.find(line, failing, 1, true)) then
      for _, part in ipairs({ id, list[i * 2], string.sub(envelope, 1, head), #envelope,
        records[i] or '', string.sub(line, 1, tail), times }) do
        reply[#reply + 1] = part
      end
      found = found + 1
      if found == answers then
        done = true
        break
      end
    end
  end
  at = down and at - #ids or at + #ids
  if read > BYTES then break end
end
reply[1] = looked
-- Whether something is behind the last one that was looked at.
if reply[3] ~= '' then
  local edge = redis.call('ZRANGE', set, down and 0 or -1, down and 0 or -1)[1]
  if edge == reply[3] then reply[2], reply[3] = '', '' end
end
return reply
