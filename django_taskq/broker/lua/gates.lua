#!lua flags=allow-oom
-- gates | keys: asks limits gated entered opens | edges: none
--
-- What an operator sees of a queue's limits: at which gates jobs wait, how many are inside, and the
-- numbers that count.
-- ARGV: now, how many gates and limits to name (at most 100), then limits that are named in any case
-- Reply: per gate its name, its limit ("" if no job there says it), jobs that wait, jobs inside (of a
--   limit of jobs at once, and of a rate that has jobs running), ms until its rate lets the next in (-1:
--   it waits for no time), those where jobs wait first; per limit its name and numbers ("" if it is
--   unknown), those of the gates among them; how many limits there are

local now = clock(ARGV[1])
local most = tonumber(ARGV[2])
local seen, count = {}, 0
local found_gates, found_limits, named = {}, {}, {}

local function within(set, name)
  return redis.call('ZLEXCOUNT', set, '[' .. name .. '\0', '(' .. name .. '\1')
end

local function tell(limit, numbers)
  if named[limit] or limit == '' then return end
  named[limit] = true
  found_limits[#found_limits + 1] = limit
  found_limits[#found_limits + 1] = numbers or redis.call('HGET', limits, limit) or ''
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
      local id = set == gated and gated_id(name, found[1]) or string.sub(found[1], #name + 2)
      local limit = limit_of(name, id)
      local due = redis.call('ZSCORE', opens, name)
      local wait = due and math.max(math.ceil(tonumber(due) - now), 0) or -1
      for _, fact in ipairs({ name, limit, within(gated, name), within(entered, name), wait }) do
        found_gates[#found_gates + 1] = fact
      end
      tell(limit)
    end
  end
end
for i = 3, #ARGV do tell(ARGV[i]) end
local some = redis.call('HSCAN', limits, 0, 'COUNT', most)[2]
for i = 1, #some, 2 do tell(some[i], some[i + 1]) end
return { found_gates, found_limits, redis.call('HLEN', limits) }
