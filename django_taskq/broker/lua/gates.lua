#!lua flags=allow-oom
-- gates | keys: gated entered opens | edges: none
--
-- What an operator sees of a queue's limits: at which gates jobs wait, and how many are inside.
-- ARGV: now, how many gates to name (at most 100)
-- Reply: per gate its name, jobs that wait, jobs inside (of a limit of jobs at once, and of a rate
--   that has jobs running), ms until its rate lets the next in (-1: it waits for no time); those
--   where jobs wait come first

local now = clock(ARGV[1])
local most = tonumber(ARGV[2])
local reply, seen, count = {}, {}, 0

local function within(set, name)
  return redis.call('ZLEXCOUNT', set, '[' .. name .. '\0', '(' .. name .. '\1')
end

for _, set in ipairs({ gated, entered }) do
  local cursor = '-'
  while count < most do
    local found = redis.call('ZRANGE', set, cursor, '+', 'BYLEX', 'LIMIT', 0, 1)
    if #found == 0 then break end
    local name = string.match(found[1], '^%Z*')
    cursor = '(' .. name .. '\1' -- behind every "name zero ..."
    if not seen[name] then
      seen[name], count = true, count + 1
      local due = redis.call('ZSCORE', opens, name)
      local wait = due and math.max(math.ceil(tonumber(due) - now), 0) or -1
      for _, fact in ipairs({ name, within(gated, name), within(entered, name), wait }) do
        reply[#reply + 1] = fact
      end
    end
  end
end
return reply
